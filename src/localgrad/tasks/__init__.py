"""What is to be learned: teachers, from files, connectomes and random draws."""
