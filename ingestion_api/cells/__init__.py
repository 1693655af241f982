"""Cells: other databases that deliver to the same lake, whose live state is taken in here."""
