"""The loop: a learner that learns task after task, and what stands around its step."""
