"""Tests of the paper's claims and of the units behind them.

A run of ``pytest`` ends with the ledger of claims.
"""
