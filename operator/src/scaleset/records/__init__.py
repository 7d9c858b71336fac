"""Records of objects: pure conversions from raw JSON to slotted records."""
