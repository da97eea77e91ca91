"""The networks' names as papers write them: for tables and figures."""

TITLES = {"mlp": "MLP 784-256-10", "lenet_300_100": "LeNet-300-100", "lenet_5": "LeNet-5"}
