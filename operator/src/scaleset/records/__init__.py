"""What is kept of objects that were read: pure, from raw JSON to slotted records."""
