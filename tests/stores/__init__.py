"""Each store by itself; the contract that all of them keep is in test_stores.py."""
