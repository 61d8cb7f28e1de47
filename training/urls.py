from django.urls import path

from training.views import loops, policies, runs, trials

app_name = "training"
urlpatterns = [
    path("projects/<int:project_id>/runs/", runs.runs, name="runs"),
    path("projects/<int:project_id>/runs/start/", runs.start, name="start"),
    path("projects/<int:project_id>/runs/<int:number>/", runs.run, name="run"),
    path("projects/<int:project_id>/runs/<int:number>/live/", runs.live, name="run_live"),
    path("projects/<int:project_id>/runs/<int:number>/results/", runs.results, name="run_results"),
    path("projects/<int:project_id>/runs/<int:number>/curve/", runs.curve, name="run_curve"),
    path("projects/<int:project_id>/runs/<int:number>/log/", runs.log, name="run_log"),
    path("projects/<int:project_id>/runs/<int:number>/rows.csv", runs.rows_csv, name="run_rows"),
    path("projects/<int:project_id>/runs/<int:number>/cancel/", runs.cancel, name="cancel"),
    path("projects/<int:project_id>/runs/<int:number>/stop/", runs.stop, name="stop"),
    path("projects/<int:project_id>/runs/<int:number>/resume/", runs.resume, name="resume"),
    path("projects/<int:project_id>/runs/<int:number>/score/", runs.score, name="score"),
    path("projects/<int:project_id>/policies/", policies.policies, name="policies"),
    path("projects/<int:project_id>/policies/<int:number>/", policies.policy, name="policy"),
    path("projects/<int:project_id>/policies/<int:number>/learned/", policies.learned, name="learned"),
    path("projects/<int:project_id>/policies/<int:number>/learned.csv", policies.learned_csv, name="learned_csv"),
    path("projects/<int:project_id>/policies/<int:number>/download/", policies.download, name="download"),
    path("projects/<int:project_id>/policies/<int:number>/release/", policies.release_state, name="release"),
    path("projects/<int:project_id>/policies/<int:number>/merge/", policies.merge, name="merge"),
    path("projects/<int:project_id>/policies/<int:number>/push/", policies.push, name="push"),
    path("projects/<int:project_id>/policies/compare/", trials.compare, name="compare"),
    path("projects/<int:project_id>/policies/playground/", trials.playground, name="playground"),
    path("projects/<int:project_id>/policies/trials/<int:trial_id>/", trials.trial, name="trial"),
    path("projects/<int:project_id>/policies/trials/<int:trial_id>/live/", trials.live, name="trial_live"),
    path("projects/<int:project_id>/policies/trials/rows/<int:row_id>/keep/", trials.keep, name="keep_prompt"),
    path("projects/<int:project_id>/loop/", loops.loop_settings, name="loop"),
    path("projects/<int:project_id>/loop/now/", loops.now, name="now"),
    path("projects/<int:project_id>/loop/sample/", loops.sample, name="sample"),
    path("projects/<int:project_id>/loop/pause/", loops.pause, name="pause"),
]
