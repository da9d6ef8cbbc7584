"""Who may do what: one table, from which the code decides and the tests are made."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from types import MappingProxyType


class Role(StrEnum):
    """What a member is in a team."""

    ADMIN = "admin"
    KEY_CREATOR = "key_creator"
    READ_ONLY = "read_only"


class Rank(IntEnum):
    """What a caller is, in the order of the table's columns."""

    SYSTEM_ADMIN = 0
    TEAM_ADMIN = 1
    KEY_CREATOR = 2
    READ_ONLY = 3
    NO_TEAM = 4


class Reach(IntEnum):
    """How far an action goes; each includes those before it."""

    NONE = 0
    OWN = 1
    """What the caller owns."""
    SHARED = 2
    """And what the caller's team owns."""
    TEAM = 3
    """And what the team's members own."""
    ALL = 4


class Action(StrEnum):
    """A row of the table."""

    LIST_KEYS = "list keys, and see what they have spent"
    CREATE_KEYS = "create keys"
    DELETE_KEYS = "delete keys"
    SET_BUDGETS = "set budget and life"
    MANAGE_USERS = "list, create and change users"
    DELETE_USERS = "delete users"
    MANAGE_TEAM = "read and change the team"
    MANAGE_TEAMS = "create, list and delete teams"
    READ_REGIONS = "read regions"
    WRITE_REGIONS = "write regions"
    READ_PRODUCTS = "read products"
    WRITE_PRODUCTS = "write products"
    READ_AUDIT = "read the audit log"


_ = Reach.NONE

TABLE: Mapping[Action, tuple[Reach, Reach, Reach, Reach, Reach]] = MappingProxyType(
    {
        #                       system admin  team admin   key_creator   read_only     no team
        Action.LIST_KEYS:      (Reach.ALL, Reach.TEAM, Reach.SHARED, Reach.SHARED, Reach.OWN),
        Action.CREATE_KEYS:    (Reach.ALL, Reach.TEAM, Reach.SHARED, _,            Reach.OWN),
        Action.DELETE_KEYS:    (Reach.ALL, Reach.TEAM, Reach.OWN,    Reach.OWN,    Reach.OWN),
        Action.SET_BUDGETS:    (Reach.ALL, Reach.TEAM, _,            _,            _),
        Action.MANAGE_USERS:   (Reach.ALL, Reach.TEAM, _,            _,            _),
        Action.DELETE_USERS:   (Reach.ALL, _,          _,            _,            _),
        Action.MANAGE_TEAM:    (Reach.ALL, Reach.TEAM, _,            _,            _),
        Action.MANAGE_TEAMS:   (Reach.ALL, _,          _,            _,            _),
        Action.READ_REGIONS:   (Reach.ALL, Reach.TEAM, Reach.TEAM,   Reach.TEAM,   Reach.OWN),
        Action.WRITE_REGIONS:  (Reach.ALL, _,          _,            _,            _),
        Action.READ_PRODUCTS:  (Reach.ALL, Reach.TEAM, _,            _,            _),
        Action.WRITE_PRODUCTS: (Reach.ALL, _,          _,            _,            _),
        Action.READ_AUDIT:     (Reach.ALL, _,          _,            _,            _),
    }
)  # fmt: skip


def reach_of(rank: Rank, action: Action) -> Reach:
    """How far `action` goes for a caller of this rank."""
    return TABLE[action][rank]
