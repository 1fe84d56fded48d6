"""Step 1 of the flow: files of other systems become events."""
