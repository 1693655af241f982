"""REST conventions of all endpoints: parameters, problems, bodies, cursors, ETags."""
