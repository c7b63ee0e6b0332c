"""See the folder's modules; this file only names the package."""
