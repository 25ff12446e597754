"""The claims of the paper and the units behind them; ``pytest`` runs both and closes with the ledger of claims."""
