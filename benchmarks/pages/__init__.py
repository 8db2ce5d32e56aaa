"""What docs/ says of the measurements: a module a subject, a function a table, from results/NAME.json to Markdown."""
