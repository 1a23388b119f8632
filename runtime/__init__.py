"""What every service stands on: settings, bus, object store, job log, worker loop, health, metrics, logs.

Imports contracts. Knows no stage.
"""
