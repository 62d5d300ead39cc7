"""Console accounts and their passwords."""

from webapp.accounts.admins.admins import Admin, Admins, check_admin_name, fold_name

__all__ = ["Admin", "Admins", "check_admin_name", "fold_name"]
