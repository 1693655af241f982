"""Processes of the stack: started, supervised, ended."""
