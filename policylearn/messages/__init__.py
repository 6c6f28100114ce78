"""What a person is told: values quoted in messages, and how far long work is."""
