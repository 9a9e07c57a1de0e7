"""A program that PyInstaller has frozen."""
