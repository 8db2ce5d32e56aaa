"""Methods in other people's trainers: a callback each, around the guard that `lifelong.protect` makes."""
