"""AWS's services as its clients speak to them, over what Vizsla has: jobs, endpoints, models, buckets that are folders."""
