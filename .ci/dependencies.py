#!/usr/bin/env python3
"""Checks the dependency tree against deny.toml: licences, sources, bans, and
which crate of ours may use which. It reads `cargo metadata` and needs no
network; security advisories are cargo-deny's part (`just deny-advisories`).
"""

import json
import os
import re
import subprocess
import sys

try:
    import tomllib
except ImportError:  # Python before 3.11
    from pip._vendor import tomli as tomllib

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# The crates of the product, and which of them each may use.
ARROWS = {
    "musher-messages": set(),
    "musher-protocols": set(),
    "musher-control": {"musher-messages"},
    "musher-sled": {"musher-messages"},
    "musher": {"musher-control", "musher-messages", "musher-protocols"},
}


def permitted(expression, allowed):
    """Whether an SPDX expression can be met with allowed licences alone."""
    # Old crates write MIT/Apache-2.0 for a choice.
    tokens = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR "))
    position = 0

    def peek():
        return tokens[position] if position < len(tokens) else None

    def take():
        nonlocal position
        position += 1
        return tokens[position - 1]

    def either():
        value = both()
        while peek() == "OR":
            take()
            value = both() or value
        return value

    def both():
        value = one()
        while peek() == "AND":
            take()
            value = one() and value
        return value

    def one():
        name = take()
        if name == "(":
            value = either()
            take()
            return value
        if peek() == "WITH":
            take()
            name = f"{name} WITH {take()}"
        return name in allowed

    return either()


def metadata(manifest):
    command = ["cargo", "metadata", "--format-version=1", "--locked"]
    command += ["--filter-platform=x86_64-unknown-linux-gnu", f"--manifest-path={manifest}"]
    run = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=False)
    if run.returncode:
        sys.exit("cargo metadata failed: is Cargo.lock up to date?")
    return json.loads(run.stdout)


def faults_of(tree, rules):
    allowed = set(rules["licenses"]["allow"])
    registries = {f"registry+{url}" for url in rules["sources"]["allow-registry"]}
    for package in tree["packages"]:
        name = f"{package['name']} {package['version']}"
        licence, source = package["license"], package["source"]
        if not licence:
            yield f"{name} names no licence"
        elif not permitted(licence, allowed):
            yield f"{name} has the licence {licence}, which deny.toml does not allow"
        if source is not None and source not in registries:
            yield f"{name} comes from {source}, which deny.toml does not allow"
        if source is None:
            for wish in package["dependencies"]:
                if wish["req"] == "*" and not wish.get("path"):
                    yield f"{name} takes any version of {wish['name']}"


def ban_faults(tree, rules):
    # A banned crate may come in by its wrappers and by nothing else.
    wrappers = {ban["crate"]: ban.get("wrappers", []) for ban in rules["bans"]["deny"]}
    names = {package["id"]: package["name"] for package in tree["packages"]}
    for node in tree["resolve"]["nodes"]:
        user = names[node["id"]]
        for used in node["deps"]:
            target = names[used["pkg"]]
            if target in wrappers and user not in wrappers[target]:
                yield f"{user} uses {target}, which is banned in deny.toml"


def arrow_faults(tree):
    names = {package["id"]: package["name"] for package in tree["packages"]}
    for node in tree["resolve"]["nodes"]:
        name = names[node["id"]]
        if name not in ARROWS:
            continue
        for used in node["deps"]:
            # Tests may reach further than the product.
            normal = any(kind["kind"] != "dev" for kind in used["dep_kinds"])
            target = names[used["pkg"]]
            if normal and target in ARROWS and target not in ARROWS[name]:
                yield f"{name} must not depend on {target} (appliance/ARCHITECTURE.md)"


def self_test():
    def check(expression, expect):
        got = permitted(expression, {"MIT", "Apache-2.0", "A WITH B"})
        assert got == expect, (expression, got)

    check("MIT", True)
    check("GPL-3.0-only", False)
    check("GPL-3.0-only OR MIT", True)
    check("GPL-3.0-only AND MIT", False)
    check("MIT/Apache-2.0", True)
    check("(GPL-3.0-only OR MIT) AND Apache-2.0", True)
    check("(GPL-3.0-only AND MIT) OR BSL-1.1", False)
    check("A WITH B AND MIT", True)


def main():
    self_test()
    with open(os.path.join(ROOT, "deny.toml"), "rb") as file:
        rules = tomllib.load(file)
    faults, count = [], 0
    for manifest in ["Cargo.toml", "tests/fuzz/Cargo.toml"]:
        tree = metadata(manifest)
        count += len(tree["packages"])
        faults += faults_of(tree, rules)
        faults += ban_faults(tree, rules)
        faults += arrow_faults(tree)
    for fault in sorted(set(faults)):
        print(fault)
    print(f"{count} packages checked, {len(set(faults))} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
