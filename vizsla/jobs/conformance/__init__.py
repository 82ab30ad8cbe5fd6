"""What every executor must do: a suite of tests for pytest, to be given an executor by a fixture.

Examples
--------
A test of an executor of one's own:

>>> class TestMine(ExecutorConformance):
...     @pytest.fixture
...     def executor(self, tmp_path):
...         return MyExecutor(tmp_path / "runs")
"""
