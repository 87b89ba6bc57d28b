"""Client connections: requests read and checked, responses written, deadlines, and closing."""
