"""Jobs, schedules and sensors, and what watches runs."""
