"""AWS's services as its clients speak to them, over what Vizsla has: jobs, endpoints, models, folders as buckets."""
