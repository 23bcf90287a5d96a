"""What CIFAR is known to be: the names of its classes and the SHA-256 of its decoded arrays.

A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", University of Toronto, 2009.
Images are in the original order (train: data_batch_1 to 5), labels uint8. ``cifar10-mini`` holds the first
200 training and 100 test images of each CIFAR-10 class, sorted by their original index.
"""

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

SUPERCLASSES = {
    "aquatic_mammals": "beaver dolphin otter seal whale",
    "fish": "aquarium_fish flatfish ray shark trout",
    "flowers": "orchid poppy rose sunflower tulip",
    "food_containers": "bottle bowl can cup plate",
    "fruit_and_vegetables": "apple mushroom orange pear sweet_pepper",
    "household_electrical_devices": "clock keyboard lamp telephone television",
    "household_furniture": "bed chair couch table wardrobe",
    "insects": "bee beetle butterfly caterpillar cockroach",
    "large_carnivores": "bear leopard lion tiger wolf",
    "large_man-made_outdoor_things": "bridge castle house road skyscraper",
    "large_natural_outdoor_scenes": "cloud forest mountain plain sea",
    "large_omnivores_and_herbivores": "camel cattle chimpanzee elephant kangaroo",
    "medium_mammals": "fox porcupine possum raccoon skunk",
    "non-insect_invertebrates": "crab lobster snail spider worm",
    "people": "baby boy girl man woman",
    "reptiles": "crocodile dinosaur lizard snake turtle",
    "small_mammals": "hamster mouse rabbit shrew squirrel",
    "trees": "maple_tree oak_tree palm_tree pine_tree willow_tree",
    "vehicles_1": "bicycle bus motorcycle pickup_truck train",
    "vehicles_2": "lawn_mower rocket streetcar tank tractor",
}
COARSE_CLASSES = tuple(SUPERCLASSES)
FINE_CLASSES = tuple(sorted(" ".join(SUPERCLASSES.values()).split()))  # CIFAR-100 numbers both in alphabetical order
COARSE_OF_FINE = tuple(k for fine in FINE_CLASSES
                       for k, names in enumerate(SUPERCLASSES.values()) if fine in names.split())

SHA256 = {
    "cifar10 train pixels": "47af8b02cfcfb6cdf3dbbd1969ad7f1b70f4413f6f80f437b020ee4e5bc8304a",
    "cifar10 test pixels": "f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04",
    "cifar10 train labels": "2b7cd2f24487317614016b72ffd53071c3062f592f0eb300c18a770d41ae1253",
    "cifar10 test labels": "cec8a24a1e92aa2ecaa0bbd3dbfa86bf6cd8759fbd209a832824c8cf0afca9d5",
    "cifar100 train pixels": "4e457917601a66aed021f5fa37957b56c6319557c0a8ed5484de3c390af45430",
    "cifar100 test pixels": "4cb8e5d9309da489bf6b19cc10cd96c3ae6f8daf225380b605aaee4c0d6aee19",
    "cifar100 train labels": "9f11b9f97aad759ba6df0a33e3218b01d8deaf4ed3a14aa1185d69b9ad7ebcb3",
    "cifar100 test labels": "4dad7d09c7c97d33f6cb928d705cf4196221316fd6e31bdd978a08ed9103ee0b",
    "cifar100-coarse train labels": "1804078d4e89b6b90bd5da6ffead1404596f6eecba15ceb8d95b6a09dfbba4c0",
    "cifar100-coarse test labels": "48df17fb3bf299f43dd7e131db11ca0ea8b07d750be8b6dcf7ad6ff1b4cc721d",
    "cifar10-mini train pixels": "4e5ac895e46a9b569a45d0220f845bd1c317a6bbb96ae905af26bf5b6ca10a16",
    "cifar10-mini test pixels": "cc2bd4479eda140793858a9ea7f9016e6870fefd7f69f172720267e933ec44a5",
    "cifar10-mini train labels": "cc4c5aa56e0ea34249936cd7a5956a98ebba578dba9473e0684b0d70ce1161df",
    "cifar10-mini test labels": "bf5fd7ab55257c7eeece32a36d229c4767d2479b59c8d506b7e35494f9cbf574",
}

# The first 12 hex digits of the SHA-256 of each sheet's pixels, in file order: they tell which sheet is damaged.
SHEET_SHA256 = {
    "cifar10 train": """
        b7a499235a15 064b3bc6646b 3ae8a6817828 2a6c43d20609 f4e7e68c92c8 e63538864fbe 9d9f5e936f9d 1d3e81ebdbff
        c305298c168b 3f1e9a107dae 18073f264d58 d289177e3a28 f303d0332c4b d174b332b999 b6e823ade5b8 2ca1bcec05ce
        3b99fe3c82f4 e637a0869db9 e2d30fef55e4 d5b674389380""",
    "cifar10 test": "f878b3287435 245302bb82d2 41ab324a4a31 ceb5a37feca5",
    "cifar100 train": """
        aee9b3aa2196 17279abe83a2 1eb1a546ec64 ba5a03a63b52 ed38a8142de2 a509b47de0fc a54a6b9a3839 98ca43c88829
        9f3fcea28f13 ee2f944b9e56 ecfe4401b47e 4d61e0e1b9ac 54f324de7d3d 44b2b15d06f9 7a293cfdf9a4 100c32669e19
        b9f8f81b3ca5 2f11ff078202 1881a080f0e3 1ac9c197e460""",
    "cifar100 test": "e02b7c00e0e3 ca07cf2ab6ff d5df0af935ce 7f6c0761a701",
    "cifar10-mini train": "4e5ac895e46a",
    "cifar10-mini test": "cc2bd4479eda",
}

ARCHIVE_BYTES = {"cifar10": 170_498_071, "cifar100": 169_001_437}
