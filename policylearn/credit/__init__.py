"""Is there a signal? How well credits of one half of the data agree with those of the other."""
