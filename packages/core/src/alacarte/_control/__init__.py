"""What is wanted and what is seen become what is done: the controller and its decisions."""
