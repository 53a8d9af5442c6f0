"""Writes a year of jafgen's shops as the seeds of the bakery, the same each time.

Arguments: a folder for what jafgen writes, the folder of the bakery's seeds.
"""

import csv
import os
import pathlib
import random
import sys
import uuid

import numpy

SEED = 7
YEARS = 1
# Each seed of the bakery: what jafgen calls it, and the columns that have another name there.
SEEDS = {
    "raw_bakeries": ("stores", {}),
    "raw_guests": ("customers", {}),
    "raw_items": ("items", {}),
    "raw_orders": ("orders", {"customer": "guest", "store_id": "bakery_id"}),
    "raw_products": ("products", {}),
    "raw_supplies": ("supplies", {}),
}
TYPES = {"jaffle": "bread", "beverage": "drink"}


def simulate(folder):
    random.seed(SEED)
    numpy.random.seed(SEED)
    uuid.uuid4 = lambda: uuid.UUID(int=random.getrandbits(128), version=4)
    from jafgen.simulation import Simulation

    os.chdir(folder)
    simulation = Simulation(YEARS, "raw")
    simulation.run_simulation()
    simulation.save_results()
    # jafgen also makes orders of nothing, which the bakery forbids by a test.
    sold = [order for order in rows(folder, "orders") if int(order["order_total"]) > 0]
    buyers = {order["customer"] for order in sold}
    orders = {order["id"] for order in sold}
    return {
        "orders": sold,
        "customers": [one for one in rows(folder, "customers") if one["id"] in buyers],
        "items": [item for item in rows(folder, "items") if item["order_id"] in orders],
        **{name: rows(folder, name) for name in ("stores", "products", "supplies")},
    }


def rows(folder, name):
    with open(folder / "jaffle-data" / f"raw_{name}.csv", newline="") as file:
        return list(csv.DictReader(file))


def main(folder, seeds):
    made = simulate(folder)
    for seed, (name, renamed) in SEEDS.items():
        with open(seeds / f"{seed}.csv", "w", newline="") as file:
            columns = [renamed.get(column, column) for column in made[name][0]]
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            for row in made[name]:
                row = {renamed.get(column, column): value for column, value in row.items()}
                if seed == "raw_products":
                    row["type"] = TYPES[row["type"]]
                writer.writerow(row)


main(*(pathlib.Path(argument).resolve() for argument in sys.argv[1:]))
