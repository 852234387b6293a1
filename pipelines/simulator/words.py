"""The names things get."""

from __future__ import annotations


def words(text: str) -> tuple[str, ...]:
    """Short names, written as one text so that a long list stays readable."""
    return tuple(text.split())


FIRST_NAMES = words("""
    Ines Ada Tom Mira Jonas Leila Pavel Noor Hugo Sana Emil Rosa Kofi Yuki Dana Omar Elif Luca Maya Nils Priya Sven Tara
    Victor Wanda Xenia Yara Zoe Anton Bea Carl Dora Erik Fay Gus Hana Ivan June Kurt Lena Max Nora Otto Paula Quinn Remy
    Stina Theo Uma Vera
""")
LAST_NAMES = words("""
    Moreau Vale Okafor Lind Brandt Haddad Novak Rahman Silva Keller Weiss Duarte Mensah Tanaka Petrov Aydin Rossi Khan
    Berg Iyer Falk Marsh Stone Winter Nowak Costa Diaz Ekman Fischer Grant Holm Ito Jansen Kim Larsen Meyer Nagy Olsen
    Park Reyes Sato
""")
GROUP_NAMES = (
    "Payments",
    "ML Platform",
    "Search",
    "Mobile",
    "Data Engineering",
    "Security",
    "Growth",
    "Internal Tools",
)
REPOSITORIES = words("ledger checkout ranker ios-app android-app warehouse gateway design-system infra notebooks")
