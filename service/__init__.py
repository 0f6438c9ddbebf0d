"""The live view: one folder of workloads and documents served on loopback, long work done as jobs.

folder    names of files below the served folder, and nothing outside it
jobs      the queue on disk: what is accepted is never lost
dispatch  jobs in processes of their own; `work` is what runs in one
replanner workloads kept priced, so that a slider has its plan at once
guard     who may ask, how much and how often; `audit` writes down what was asked
api       the OpenAPI service over all of these; it alone needs FastAPI, so that workers start without it
"""
