"""The tests, a folder for each subject."""
