"""What is registered, and where records are sent."""
