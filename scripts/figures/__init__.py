"""Figures of the README and the documentation, each in a light and a dark variant.

python -m scripts.figures          draw all of docs/figures again (trains two small models)
python -m scripts.figures cut …    draw only these
"""
