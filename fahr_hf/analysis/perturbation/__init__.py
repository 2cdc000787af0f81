"""One photo, changed in known ways: how far does an answer follow?"""
