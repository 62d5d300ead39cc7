"""Signing in to the console and staying signed in."""

from webapp.accounts.sign_in.sign_in import AdminSession, NewSession, SignedIn, SignIn

__all__ = ["AdminSession", "NewSession", "SignIn", "SignedIn"]
