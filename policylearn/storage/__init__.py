"""Where runs and policies are kept: folders on this machine or in a bucket, which may be out of reach for a while."""
