"""The forecast: what each file will be asked for at a site on the day after the window.

Floors: models (one step ahead, behind one interface), releases (files without history) → choice (which model, by
held-back error).
"""
