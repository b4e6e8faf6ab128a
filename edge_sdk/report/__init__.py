"""The result of a deployment for people and for programs: one set of objects, several prints of it."""
