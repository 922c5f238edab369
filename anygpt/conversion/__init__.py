"""Published checkpoints → folders that this project loads, checked."""
