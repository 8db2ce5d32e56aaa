"""What several methods share: mathematics, none of it a method of its own."""
