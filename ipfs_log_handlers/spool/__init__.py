"""Keep durable records and archives until their batch is sealed."""
