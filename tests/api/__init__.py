"""The methods of a home, and the functions that open one."""
