"""HashiCorp Vault and OpenBao: one login for each, its token kept alive, requests with deadlines.

The blocking client (hvac on requests) runs in a small pool of threads of each Vault's own, so the loop never waits. It
stands apart from the sources because they share it: a token is one thing, however many credentials come with it. This
part knows neither what a credential is used for nor who uses it. Nothing here is imported before a configuration
names a Vault.
"""
