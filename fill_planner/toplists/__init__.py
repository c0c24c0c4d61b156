"""Forecasts of weekly top lists: how wrong models of demand are, on data that anybody can download.

Netflix publishes every week the ten most watched titles of four lists with the hours they were watched. The package reads that
file (`lists`), describes each entry by what was known at the end of its week (`features`), fits models of next weeks' hours
(`models`: last value, decay by list and age, regression; `trees`: boosted trees), puts bands around them (`bands`) and scores
all of it week after week without looking ahead (`evaluation`).

Floors: lists → features → trees → models → bands → evaluation → report. Nothing here does I/O.
"""
