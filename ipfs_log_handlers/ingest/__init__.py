"""Take records in: turn a LogRecord or an event dict into a line of a segment."""
