"""In which order: orders of tasks, affinities between them, and Taskonomy's choice of sources."""
