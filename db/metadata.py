"""The description of all tables: what the migrated database is compared with."""

from sqlmodel import SQLModel

from db.chat import tables as chat_tables
from db.gateway import tables as gateway_tables
from db.identity import tables as identity_tables
from db.leads import tables as leads_tables
from db.runs import tables as runs_tables
from db.scoring import tables as scoring_tables
from db.tools import tables as tools_tables

NOUNS = (
    identity_tables,
    runs_tables,
    gateway_tables,
    tools_tables,
    chat_tables,
    leads_tables,
    scoring_tables,
)
metadata = SQLModel.metadata
