"""Pages of accounts; include them under the admin's address, before the admin."""

from django.urls import path

from accounts.views import login_once

app_name = "accounts"

urlpatterns = [path("login/once/<str:token>", login_once, name="login-once")]
