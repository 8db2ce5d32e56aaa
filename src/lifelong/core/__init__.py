"""What everything else is made of: tasks and streams, methods, vectors of weights, errors."""
