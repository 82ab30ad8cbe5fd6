"""STS and IAM by boto3: who one is, and roles that are names."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import boto3
import pytest

from vizsla.aws.application import Application
from vizsla.aws.context import Context

exceptions = pytest.importorskip("botocore.exceptions")
Clients = Callable[[str], Any]


def refused(call: Any, **named: Any) -> tuple[str, str]:
    with pytest.raises(exceptions.ClientError) as caught:
        call(**named)
    return caught.value.response["Error"]["Code"], caught.value.response["Error"]["Message"]


def test_everybody_is_an_assumed_role(client: Clients) -> None:
    found = client("sts").get_caller_identity()
    assert found["Account"] == "000000000000"
    assert re.fullmatch(r"arn:aws:sts::000000000000:assumed-role/[\w-]+/[\w-]+", found["Arn"])


def test_roles_may_be_assumed(client: Clients) -> None:
    sts = client("sts")
    role = sts.assume_role(RoleArn="arn:aws:iam::000000000000:role/service-role/Mine", RoleSessionName="me")
    assert role["AssumedRoleUser"]["Arn"] == "arn:aws:sts::000000000000:assumed-role/Mine/me"
    keys = role["Credentials"]
    assert keys["Expiration"].timestamp() > 1_700_000_000
    assert (len(keys["AccessKeyId"]), len(keys["SecretAccessKey"])) == (20, 40)
    assert sts.get_session_token(DurationSeconds=900)["Credentials"]["AccessKeyId"].startswith("ASIA")
    code, words = refused(sts.assume_role, RoleArn="arn:aws:iam::000000000000:user/somebody", RoleSessionName="me")
    assert code == "ValidationError"
    assert "arn:aws:iam::<account>:role/<name> was expected" in words
    assert "900 to 129600" in refused(sts.get_session_token, DurationSeconds=129_601)[1]


def test_a_role_of_any_name_is_answered(client: Clients) -> None:
    role = client("iam").get_role(RoleName="AmazonSageMaker-ExecutionRole-20230101T000000")["Role"]
    assert role["Arn"] == "arn:aws:iam::000000000000:role/AmazonSageMaker-ExecutionRole-20230101T000000"
    trust = role["AssumeRolePolicyDocument"]
    assert trust["Statement"][0]["Principal"] == {"Service": "sagemaker.amazonaws.com"}
    code, words = refused(client("iam").get_role, RoleName="no role/../at all")
    assert code == "ValidationError"
    assert "The specified value for roleName is invalid: 'no role/../at all'" in words


def test_the_life_of_a_role(client: Clients) -> None:
    iam = client("iam")
    trust = json.dumps({"Version": "2012-10-17", "Statement": []})
    made = iam.create_role(RoleName="mine", AssumeRolePolicyDocument=trust, Path="/team/", Description="ours")["Role"]
    assert made["Arn"] == "arn:aws:iam::000000000000:role/team/mine"
    assert iam.get_role(RoleName="mine")["Role"]["AssumeRolePolicyDocument"] == json.loads(trust)
    assert refused(iam.create_role, RoleName="mine", AssumeRolePolicyDocument=trust) == (
        "EntityAlreadyExists",
        "Role with name mine already exists.",
    )
    assert [row["RoleName"] for row in iam.list_roles()["Roles"]] == ["mine", "vizsla"]
    assert [row["RoleName"] for row in iam.list_roles(PathPrefix="/team/")["Roles"]] == ["mine"]
    policy = "arn:aws:iam::aws:policy/AmazonSageMakerFullAccess"
    iam.attach_role_policy(RoleName="mine", PolicyArn=policy)
    iam.put_role_policy(RoleName="mine", PolicyName="inline", PolicyDocument="{}")
    attached = iam.list_attached_role_policies(RoleName="mine")["AttachedPolicies"]
    assert attached == [{"PolicyName": "AmazonSageMakerFullAccess", "PolicyArn": policy}]
    assert iam.list_role_policies(RoleName="mine")["PolicyNames"] == ["inline"]
    assert refused(iam.delete_role, RoleName="mine")[0] == "DeleteConflict"
    iam.detach_role_policy(RoleName="mine", PolicyArn=policy)
    iam.delete_role_policy(RoleName="mine", PolicyName="inline")
    iam.delete_role(RoleName="mine")
    code, words = refused(iam.attach_role_policy, RoleName="mine", PolicyArn=policy)
    assert code == "NoSuchEntity"
    assert "CreateRole has not made it" in words
    assert "is not valid" in refused(iam.attach_role_policy, RoleName="mine", PolicyArn="arn:aws:iam::nonsense-x")[1]
    assert refused(iam.create_role, RoleName="x", AssumeRolePolicyDocument="{")[0] == "MalformedPolicyDocument"


def test_everything_is_allowed(client: Clients) -> None:
    answer = client("iam").simulate_principal_policy(
        PolicySourceArn="arn:aws:iam::000000000000:role/a", ActionNames=["s3:GetObject", "sagemaker:CreateModel"]
    )
    assert [row["EvalDecision"] for row in answer["EvaluationResults"]] == ["allowed", "allowed"]


def test_a_door_with_keys_takes_what_it_gave(tmp_path: Any) -> None:
    """Signed requests of every kind, and the temporary credentials of a role."""
    import threading

    import uvicorn

    from tests.conftest import free_port

    keys = {"AKIA1": "secret-1"}
    port = free_port()
    context = Context(tmp_path, f"http://127.0.0.1:{port}", keys=keys)
    server = uvicorn.Server(uvicorn.Config(Application(context), port=port, lifespan="off", log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            thread.join(0.01)

        session = boto3.Session(region_name="us-east-1")  # one, as it keeps the models of services that it has read

        def client(service: str, key: str, secret: str, token: str | None = None) -> Any:
            return session.client(service, None, None, True, None, context.address, key, secret, token)

        given = client("sts", "AKIA1", "secret-1").assume_role(
            RoleArn="arn:aws:iam::000000000000:role/a", RoleSessionName="me"
        )["Credentials"]
        temporary = (given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])
        for who in (("AKIA1", "secret-1"), temporary):
            client("s3", *who).put_object(Bucket="signed-bucket", Key="a b/ü", Body=b"x")
            assert client("s3", *who).list_objects_v2(Bucket="signed-bucket", Prefix="a b/")["KeyCount"] == 1
            assert client("iam", *who).list_roles()["Roles"]
            assert client("logs", *who).describe_log_groups()["logGroups"]
            assert client("cloudwatch", *who).list_metrics()["Metrics"] == []
        for service, operation, code in [
            ("sts", "get_caller_identity", "InvalidClientTokenId"),
            ("logs", "describe_log_groups", "UnrecognizedClientException"),
            ("s3", "list_buckets", "InvalidAccessKeyId"),
        ]:
            assert refused(getattr(client(service, "AKIA2", "x"), operation))[0] == code
        assert refused(client("sts", "AKIA1", "wrong").get_caller_identity)[0] == "SignatureDoesNotMatch"
        assert refused(client("logs", "AKIA1", "wrong").describe_log_groups)[0] == "InvalidSignatureException"
    finally:
        server.should_exit = True
        thread.join(10)
