"""Which names of folders mean which split: the one table."""

import unicodedata

# English as the datasets library reads folders, and the usual words of other languages.
SPLITS = {
    "train": "train training trainieren entrainement apprentissage entrenamiento treino treinamento addestramento "
             "allenamento trening treningowy egitim обучение тренировка 训练 訓練 学習 훈련 학습",
    "val": "val valid validation validate dev development validierung validacion validacao validazione validatie "
           "walidacja dogrulama валидация проверка 验证 驗證 検証 검증",
    "test": "test tests testing eval evaluation essai prueba pruebas teste testes prova verifica testowy тест "
            "тестирование 测试 測試 テスト 테스트",
}
BEHIND = ("", "set", "sets", "data", "dataset", "images", "imgs", "split", "folder", "daten", "集", "データ", "セット")


def split_of(name):
    """Which split the name of a folder means, ``train``, ``val`` or ``test``, or None."""
    return _SPLIT_OF.get(_key(name))


def _key(name):
    """A name without capitals, accents, spaces and signs."""
    plain = unicodedata.normalize("NFKD", name).casefold()
    return "".join(letter for letter in plain if letter.isalnum())


_SPLIT_OF = {_key(word + behind): split for split, words in SPLITS.items() for word in words.split()
             for behind in BEHIND}
